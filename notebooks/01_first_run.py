# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first run
#
# **You learn** how a config becomes a trained network: what a config says, what the network gets to see, how the
# training went, what the scores are, and what the network makes of an image.
#
# **It takes** about two minutes on two CPU cores the first time, most of it training, and seconds after that: a
# finished run is not trained again. With `SEGKIT_FAST=1` in the environment it takes seconds at once, and the network
# learns nothing.
#
# **It needs** nothing but segkit: the road scenes are drawn by a procedure (`streets`). For data of your own, give
# `CONFIG` another file, such as `CONFIGS / "camvid/fcn8s.yaml"`, and say where it is: `CHANGES = ["data.root=PATH"]`.

# %%
import pandas
from PIL import Image, ImageOps
from settings import CHANGES, CONFIGS, RUNS

import segkit
from segkit.build import build_dataset
from segkit.compare.figures import samples_picture, training_history
from segkit.compare.tables import class_table, image_table, score_table
from segkit.config.resolve import dump
from segkit.config.schema import config_values
from segkit.diagnostics.printed_tables import class_weight_rows
from segkit.viz.overlay import overlay

CONFIG = CONFIGS / "streets/fcn8s.yaml"  # or the path of any other config
RUN = RUNS / "first_run"  # runs/notebooks/first_run, or any other new folder
# CHANGES are changes to the config, such as ["training.epochs=8"]: none, unless SEGKIT_FAST is set

# %% [markdown]
# ## The config
#
# A config is a short file on top of others (`base:`).

# %%
print(CONFIG.read_text())

# %% [markdown]
# The whole of them is checked, and every value has its place. `segkit show CONFIG` also says where each one was set.

# %%
config = segkit.load_config(CONFIG, CHANGES)
print(dump(config_values(config)))

# %% [markdown]
# ## The data
#
# Samples as they are on disk, or, here, as they are drawn: an image, and a class for each pixel. Void pixels (black)
# count nowhere.

# %%
training = build_dataset(config, "train")
samples_picture(training, [0, 1, 2])

# %% [markdown]
# Poles and signs are rare, road and sky are not. Class weights make up for it: the column `this config` is what
# multiplies the loss of a pixel here, and the others are variants from papers and released code. The last two rows say
# what another normalizer of the loss would do to the learning rate.

# %%
columns, rows = class_weight_rows(config)
pandas.DataFrame(rows, columns=columns).set_index("class")

# %% [markdown]
# ## The training
#
# `segkit.train` trains, resumes a run that was interrupted, or takes the result of one that is finished. The weights
# with the best validation mean IoU are kept, and scored on the test split. `segkit train CONFIG --run RUN` does the same.

# %%
result = segkit.train(config, RUN)
print(f"{result['parameters']:,} parameters, {result['seconds']:.0f} s, best weights at step {result['best_step']}")

# %% [markdown]
# A run is a folder, and everything below is read from it. The loss should fall and the validation score should rise and
# flatten; a score that falls again while the loss keeps falling says that the network learns the training images by
# heart.

# %%
comparison = segkit.compare_runs([RUN])
training_history(comparison.methods)

# %% [markdown]
# ## The scores
#
# All of the test split, in per cent. *Global accuracy* is the share of correct pixels; *class average accuracy* gives
# each class the same weight; *mean IoU* also punishes pixels that were given to a class wrongly, and is the score that
# papers report.

# %%
score_table(comparison.methods, comparison.statistics).frame()

# %%
class_table(comparison.methods).frame()

# %% [markdown]
# ## The predictions
#
# The four worst test images. An image has its own mean IoU, over the classes in its labels or its prediction.

# %%
images = image_table(comparison.methods).frame()
comparison.picture(images.index[:4])

# %%
images.head(4)

# %% [markdown]
# Any RGB image can be labelled: `predictor("IMAGE.png")` does it for a file of yours, `segkit predict RUN IMAGE ...
# --out FOLDER` for many. `predictor.probabilities(image)` and `predictor.logits(image)` give what the labels come from.

# %%
predictor = segkit.load_model(RUN)
image = build_dataset(config, "test")[0].image
labelled = Image.fromarray(overlay(image, predictor(image), predictor.palette))
ImageOps.contain(labelled, (512, 512), method=Image.Resampling.NEAREST)

# %% [markdown]
# ## What next
#
# * Change something: set `CHANGES = ["training.epochs=32"]` and `RUN` to another folder, and run all cells again.
# * `02_compare_decoders` trains four decoders with three seeds each and asks which differences are real.
# * `03_look_inside_a_run` looks for what this network gets wrong, and where.
# * `segkit train configs/camvid/fcn8s.yaml data.root=PATH/TO/CamVid` trains on real images; see the README.
