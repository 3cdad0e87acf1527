"""What scripts of experiments share: jobs, ledgers, streets, comparisons, tables and plots."""
