"""The paper's first table from what is finished of it: `work.py`'s arguments, same meaning.

    PYTHONPATH=experiments python -m table1.report DATA RUNS …

Metrics are IoU in per cent: mean and 95 % interval (Student's t) over pretraining seeds and draws of labels;
beside them what the paper reports at 1 % of the labels, read off its charts (± 0.2). The paper does not say
which encoder its map metrics belong to; they stand at EfficientNet-B0.
"""

from harness.spread import with_interval
from table1.work import METRICS, OBJECTIVES, Plan, metric, read_plan

PUBLISHED = {
    ("paper-simplebev-b0", "vehicle"): {"none": 13.8, "occupancy": 22.9, "occfeat": 24.6},
    ("paper-bevformer-b0", "vehicle"): {"none": 11.4, "occupancy": 22.0, "occfeat": 25.0},
    ("paper-simplebev-b0", "map"): {"none": 20.1, "occupancy": 25.2, "occfeat": 26.2},
    ("paper-bevformer-b0", "map"): {"none": 20.4, "occupancy": 25.1, "occfeat": 26.6},
}
"""arXiv 2404.14027, at 1 % of the labels."""


def table(plan: Plan, task: str) -> str:
    """Return one table of a task: a row per network and objective, a column per share of the labels."""
    shares = [f"{100 * fraction:g} %" for fraction in plan.epochs]
    lines = [
        f"| {METRICS[task]} | pretraining | " + " | ".join(shares) + " | paper, 1 % |",
        "|---" * (len(shares) + 3) + "|",
    ]
    for recipe in plan.recipes:
        for objective in plan.objectives:
            cells = [with_interval(metrics(plan, recipe, objective, task, share)) for share in plan.epochs]
            published = PUBLISHED.get((recipe, task), {}).get(objective, "-")
            lines.append(f"| {recipe} | {OBJECTIVES[objective]} | " + " | ".join(cells) + f" | {published} |")
    return "\n".join(lines)


def metrics(plan: Plan, recipe: str, objective: str, task: str, fraction: float) -> list[float]:
    """Per cent of every seed and draw that is finished."""
    wanted = (recipe, objective, task, fraction)
    return [
        metric(plan, one)
        for one in plan.tunings()
        if (one.recipe, one.objective, one.task, one.fraction) == wanted and plan.results(one).is_file()
    ]


if __name__ == "__main__":
    whole = read_plan()
    text = "\n\n".join(table(whole, task) for task in whole.tasks) + "\n"
    (whole.runs / "table1.md").write_text(text, encoding="utf-8")
    print(text + str(whole.runs / "table1.md"))
