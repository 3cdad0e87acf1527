"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  /* Charts take the colours of the page, and change with them. */
  const themed = (layout) => {
    const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { gridcolor: color("--line"), linecolor: color("--line"), zerolinecolor: color("--line"), automargin: true };
    const polar = layout.polar && {
      ...layout.polar,
      bgcolor: "rgba(0,0,0,0)",
      angularaxis: { ...axis, ...layout.polar.angularaxis },
      radialaxis: { ...axis, ...layout.polar.radialaxis },
    };
    return {
      margin: { l: 50, r: 15, t: 40, b: 40 },
      ...layout,
      ...(polar ? { polar } : {}),
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
      font: { color: color("--ink"), family: "system-ui, sans-serif", size: 12 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
    };
  };
  const drawCharts = () => {
    for (const figure of document.querySelectorAll("figure.chart")) {
      const chart = JSON.parse(figure.querySelector("script").textContent);
      const settings = { responsive: true, displaylogo: false, displayModeBar: false };
      Plotly.react(figure.querySelector(".drawing"), chart.data, themed(chart.layout), settings);
    }
  };

  const startViewer = (viewer) => {
    const frames = [...viewer.querySelectorAll(".frame")];
    const orders = JSON.parse(viewer.querySelector("script").textContent);
    const chosen = viewer.querySelector(".order");
    let at = 0;
    const show = (position) => {
      const indices = orders[Number(chosen.value)].indices;
      at = (position + indices.length) % indices.length;
      frames.forEach((frame, index) => { frame.hidden = index !== indices[at]; });
      viewer.querySelector(".position").textContent = `${at + 1} of ${indices.length}`;
    };
    const keys = {
      ArrowLeft: () => show(at - 1),
      ArrowRight: () => show(at + 1),
      Home: () => show(0),
      End: () => show(-1),
    };
    const inSight = () => {
      const box = viewer.getBoundingClientRect();
      return box.top < window.innerHeight && box.bottom > 0;
    };
    viewer.querySelector(".previous").addEventListener("click", keys.ArrowLeft);
    viewer.querySelector(".next").addEventListener("click", keys.ArrowRight);
    chosen.addEventListener("change", () => show(0));
    document.addEventListener("keydown", (event) => {
      const busy = event.target.closest("select, input, textarea, .wide") || event.ctrlKey || event.altKey || event.metaKey;
      const inside = viewer.contains(event.target);
      const step = inside || event.key.startsWith("Arrow") ? keys[event.key] : undefined;
      if (busy || !step || !(inside || inSight())) return;
      event.preventDefault();
      step();
    });
    viewer.querySelector(".controls").hidden = false;
    show(0);
  };

  if (document.querySelector("figure.chart")) {
    drawCharts();
    dark.addEventListener("change", drawCharts);
  }
  document.querySelectorAll(".viewer").forEach(startViewer);
})();
