"""One short module per experiment; each has a ``CONFIG`` and shows the commands that run it.

``metrabs-train train --recipe=NAME --logdir=FOLDER`` trains; the data sets are under ``$DATA_ROOT``. Flags override
what a recipe says, such as ``--backbone=efficientnetv2-s`` or ``--seed=2``.
"""
