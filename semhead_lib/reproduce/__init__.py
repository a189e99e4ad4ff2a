"""Reproduction: notebooks executed by Papermill, in order, into a run folder that resumes.

    papermill_runs/<profile>/<run>/
        01_dataset_synthesis.ipynb       the executed notebook
        01_dataset_synthesis/            what it wrote: its parameter `out`
        parameters/01_....yaml           its resolved parameters
        pages/01_....html                the same notebook as a page, readable without a network
        index.html                       the run: notebooks, times, memory, metrics, versions
        metrics.json                     {notebook: {metric: value}}
        config.yaml                      the resolved profile
        run.json                         command, commit, versions, devices; of each notebook its
                                         state, time and peak memory

Notebooks run with the repository's root as working directory. One of them alone, by Papermill
itself:

    papermill notebooks/01_dataset_synthesis.ipynb out.ipynb \\
        -f papermill_runs/smoke/main/parameters/01_dataset_synthesis.yaml

(`semhead reproduce smoke dry_run=true` writes these files without executing anything.) In a
notebook:

    from semhead_lib.reproduce import record
    record(auc=0.98, views_per_second=21.3)
"""

from semhead_lib.reproduce.metrics import record
from semhead_lib.reproduce.provenance import start_at_root

__all__ = ["record", "start_at_root"]
