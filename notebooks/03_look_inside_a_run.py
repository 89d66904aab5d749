# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Look inside a run
#
# **You learn** to see what one trained network gets wrong, and where: the classes it confuses, its worst images, and
# its boundaries.
#
# **It takes** seconds if `01_first_run` has been executed, and two minutes on two CPU cores otherwise: the same run is
# trained then. With
# `SEGKIT_FAST=1` in the environment it takes seconds at once, and the network has learned nothing.
#
# **It needs** nothing but segkit. To look inside a run of your own, skip the cell that trains, and set `RUN` to its
# folder.

# %%
import pandas
from settings import CHANGES, CONFIGS, RUNS

import segkit
from segkit.compare.figures import draw, training_history
from segkit.compare.tables import image_table
from segkit.diagnostics.printed_tables import BoundaryMeasures, class_weight_rows
from segkit.runs.trained import evaluate_trained, open_trained

RUN = RUNS / "first_run"  # runs/notebooks/first_run, or a finished run of yours

# %% [markdown]
# The run of `01_first_run`; nothing is trained if it is finished.

# %%
config = segkit.load_config(CONFIGS / "streets/fcn8s.yaml", CHANGES)
result = segkit.train(config, RUN)

# %% [markdown]
# ## How the training went
#
# A loss that jumps, or a gradient norm that grows, asks for a smaller learning rate; a loss that is still falling at
# the end asks for more steps.

# %%
comparison = segkit.compare_runs([RUN])
training_history(comparison.methods)

# %% [markdown]
# ## What is taken for what
#
# Each row holds the pixels of one class, in per cent: the diagonal is right, and the darkest cells beside it are the
# usual mistakes. Below it, the IoU of each class.

# %%
cost, learning, class_iou, confusion = comparison.figures()
confusion

# %%
class_iou

# %% [markdown]
# ## The worst images
#
# By their own mean IoU, over the classes in the labels or the prediction of an image. What was predicted is stored with
# the run, so that nothing is computed again.

# %%
images = image_table(comparison.methods).frame()
images.head(8)

# %%
comparison.picture(images.index[:4])

# %% [markdown]
# For comparison, the best ones, the very best last.

# %%
comparison.picture(images.index[-4:])

# %% [markdown]
# ## Boundaries
#
# Thin things and exact outlines hardly count in mean IoU, since they have few pixels. *BF* asks how much of the
# outlines is found within a few pixels, *boundary IoU* compares bands along them, and the trimap rows score only pixels
# near a boundary in the labels. The network scores the test split once more for this. `segkit evaluate RUN --boundary`
# prints the same.

# %%
trained = open_trained(RUN)
measures = BoundaryMeasures(len(trained.class_names))
evaluate_trained(trained, "test", observe=measures.add)
pandas.DataFrame(measures.rows(), columns=["measure", "per cent"]).set_index("measure")

# %% [markdown]
# The trimap rows as a curve: how far from a boundary the scores recover.

# %%
method = comparison.methods[0]
cost, boundary, learning, class_iou, confusion = draw([method], costs={}, near=[measures.trimaps[None]])
boundary

# %% [markdown]
# ## Class weights
#
# What the loss was weighted with (`this config`), beside the variants that papers and released code use. A class that
# scores badly and has few pixels may need a larger weight; one that is predicted too often, a smaller one.

# %%
columns, rows = class_weight_rows(trained.config)
pandas.DataFrame(rows, columns=columns).set_index("class")

# %% [markdown]
# ## What next
#
# * Look inside a run of `02_compare_decoders`: set `RUN` to `RUNS / "decoders-on-streets/segnet-seed0"`.
# * Train with other class weights, `loss.class_weights=none`, and compare: give `segkit.compare_runs` both folders.
# * `segkit evaluate RUN --split val --boundary` looks at another split, `segkit predict RUN IMAGE ... --out FOLDER` at
# other images.
