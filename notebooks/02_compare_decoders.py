# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Compare decoders
#
# **You learn** how to train several decoders under one recipe, to check that they were treated alike, and to tell real
# differences from noise.
#
# **It takes** about a quarter of an hour on two idle CPU cores the first time (twelve runs of about a minute), and
# seconds after that: what is finished is not trained again, and what was interrupted resumes. With `SEGKIT_FAST=1` in
# the environment it takes half a minute, and the networks learn nothing.
#
# **It needs** nothing but segkit: the road scenes are drawn by a procedure (`streets`). For runs of your own, skip the
# training and give `segkit.compare_runs` their folders; for another experiment, change the file that is written below.

# %%
import pandas
from settings import CHANGES, CONFIGS, MEMBERS, RUNS

import segkit
from segkit.compare.ledger import cost_tables, legend
from segkit.compare.tables import class_table, difference_table, score_table
from segkit.experiments.experiment import prepare, read_experiment, select
from segkit.experiments.launch import run_members
from segkit.experiments.treatment import check_treatment

EXPERIMENT = RUNS / "decoders_on_streets.yaml"
# Unless SEGKIT_FAST is set, CHANGES to every config, such as ["training.epochs=8"], are none, and MEMBERS, such as
# ["decoder=fcn8s,segnet"], are all.

# %% [markdown]
# ## The experiment
#
# One file says what all runs share (`set`, and the configs it names) and what they differ in (`axes`). Each combination
# is a member: here one run per decoder and seed.

# %%
RUNS.mkdir(parents=True, exist_ok=True)
EXPERIMENT.write_text(f"""
name: decoders-on-streets
set: {{training: {{epochs: 12}}}}
axes:
  decoder:
    fcn32s: {CONFIGS}/streets/fcn32s.yaml
    fcn16s: {CONFIGS}/streets/fcn16s.yaml
    fcn8s: {CONFIGS}/streets/fcn8s.yaml
    segnet: {CONFIGS}/streets/segnet.yaml
  seed: [0, 1, 2]
""")
members = select(read_experiment(EXPERIMENT, CHANGES, runs=RUNS), MEMBERS)
prepare(members)
print(len(members), "runs, the first in", members[0].run.path)

# %% [markdown]
# ## Are they treated alike?
#
# A comparison of decoders is worth something only if nothing but the decoder differs. So segkit computes what training
# would do, for one seed of each decoder: the order of the samples, the augmented images of the first step, and the
# starting weights of the layers that they share.

# %%
treatment = check_treatment(members)
print("\n".join(treatment.lines()))
pandas.DataFrame(treatment.rows(), columns=["what differs", *treatment.methods]).set_index("what differs")

# %% [markdown]
# ## The training
#
# Two processes at a time; what each prints goes to the folder `logs` beside the runs. A member that fails does not stop
# the others.
# `segkit experiment run EXPERIMENT --jobs 2` does the same.

# %%
failures = run_members(members, EXPERIMENT, CHANGES, RUNS, jobs=2, say=print)

# %% [markdown]
# ## The scores
#
# Runs that differ in their seed alone are repetitions of one method: the mean, and ± the standard deviation over seeds.

# %%
comparison = segkit.compare_runs([EXPERIMENT], runs=RUNS)
score_table(comparison.methods, comparison.statistics).frame()

# %%
class_table(comparison.methods).frame()

# %% [markdown]
# ## Which differences are real?
#
# A verdict such as `fcn8s > segnet (+18.3 [17.6, 19.1]); images and 3 seeds` names the better method, by how many
# points of mean IoU, and between which bounds the difference lies if other test images are drawn (95%). It stands only
# if the difference is larger than what other images *and* other seeds would change, after a correction for the number
# of pairs. *Not distinguishable* does not mean equal: it means that noise alone could have made this difference. And
# where a verdict rests on *images only* (fewer than three seeds in common), training again may reverse it.

# %%
print("\n".join(comparison.verdicts()))

# %%
difference_table(comparison.statistics).frame()

# %% [markdown]
# ## What do they cost?

# %%
cost_tables(comparison.costs)[0].frame()

# %%
print("\n".join(legend(measured=False)))

# %% [markdown]
# ## Figures
#
# Accuracy against cost, how the training went, the classes that make the difference, and what was taken for what.

# %%
cost, learning, class_iou, confusion = comparison.figures()
cost

# %%
learning

# %%
class_iou

# %%
confusion

# %% [markdown]
# ## Image by image
#
# Everything above as one page, and more: scores near boundaries, and under *Image by image* any two runs side by side,
# sorted by where they differ. The folder also holds the tables as CSV, Markdown and LaTeX and the figures as PNG and
# PDF. `index.html` opens in any browser.
# `segkit compare EXPERIMENT --out FOLDER` writes the same.

# %%
comparison.write(RUNS / "report")

# %% [markdown]
# ## What next
#
# * Compare other decoders or losses: change the axes of the experiment, and its name.
# * `03_look_inside_a_run` looks for what one network gets wrong, and where.
# * `segkit compare EXPERIMENT --measure` also measures time and memory on this machine.
# * Frames of one drive are not independent: `segkit.compare_runs(..., block=10)` draws ten in a row together, and is
# more careful.
