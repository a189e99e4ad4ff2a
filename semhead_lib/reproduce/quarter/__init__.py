"""A quarter of an hour on a GPU: build, test, measure, train, and bring home what fits through a
thin line.

    environments/gpu_quarter.sh MINUTES DATA.tar OUT [STATE]

runs `python -m semhead_lib.reproduce.quarter` on a machine with torch and nvcc and no network, of
which nothing else is asked: no Hydra, no webdataset, no installation. Each step is a process of its
own with a time limit, so that one that hangs or crashes costs the others nothing but that time:

| step     | what it does                                             | when it fails                                |
|----------|----------------------------------------------------------|----------------------------------------------|
| `build`  | looks at DATA and SETTINGS, compiles `csrc` for this     | the reference implementation serves          |
|          | card, compares the ops with the reference on a few rays  |                                              |
| `checks` | sees that the compiled ops run and agree with the        | an op: the reference trains; graphs: eager;  |
|          | reference; graphs with eager; bf16 with fp32             | bf16: fp32                                   |
| `tests`  | the tests of the ops and of the step that need the card  | a test of an op: the reference trains        |
| `render` | measures the renderer                                    | what was measured before stays               |
| `step`   | measures the whole training step of each preset          | the same                                     |
| `train`  | trains until the end is near; goes on from STATE         | again: eager, with the reference, in fp32    |
| `finish` | image grids, log and the compact state                   | those of two minutes before stay             |

OUT afterwards:

    summary.json              status, seconds and reason of every step; written after each
    quarter.log               all output, with seconds since the start
    gpu_render.json           figures of the renderer     (cpu_render.json when DEVICE=cpu)
    gpu_step.json             figures of the step
    heads.png, log.jsonl      of the training: the newest heads from all around, and its log
    state/                    at most 8 files of at most 16 MB that STATE takes the next time

Environment: DEVICE (cuda, or cpu for a rehearsal), PRESET (semhead-128), SETTINGS
("subjects_per_batch=16 ..." of the training), TRAINING (adversarial, as `semhead train`, or
reconstruct, as `semhead reconstruct`: DATA then needs `geometry=true`, kimg is what the time does
for, STATE is the folder of a generator, and a training whose errors rise is stopped), FILES (the
most files that OUT may have: all but the state go into report.tar), STATE_MB (64), LIMITS
("render=30 tests=0": seconds of steps; 0 leaves one out; "build=0" takes the ops that are there),
TESTS (words for pytest), PYTHON.

A step is `done`, `failed`, `unfinished` (its time was over), `stopped` (by a signal) or `skipped`.
Checks that did not finish give up nothing. Measurements that were cut off say so, as do rows that
were measured while the machine was busy.

DATA and SETTINGS are looked at first: where nothing could be trained from them, the lease ends at
once, exit code 2. A STATE that is damaged, or of images of another size or other networks, is named
in summary.json, and the training starts from the beginning: a lease is too short to ask. One of
other data or settings lends its networks to a new training.
"""
