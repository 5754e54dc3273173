"""Settings and options of version 0.1 that were renamed, for "did you mean"."""

RENAMED_SETTINGS = {
    "batching.rotate": "batching.random_offset",
    "data.name": "data.source",
    "embedding_start": "embedding_init",
    "logger.every_steps": "logger.log_every_n_steps",
    "model.output_cutoffs": "model.cutoffs",
    "trainer.dropout_epochs": "trainer.dropout_reference_epochs",
    "trainer.gradient_clip": "trainer.gradient_clip_val",
    "trainer.limit_train_windows": "trainer.limit_train_batches",
    "trainer.max_minutes": "trainer.budget",
    "trainer.limit_valid_windows": "trainer.limit_val_batches",
    "trainer.valid_every": "trainer.val_check_interval",
    "trainer.valid_share": "trainer.max_val_fraction",
}
RENAMED_OPTIONS = {("averaging", "tail"): "polyak", ("loss", "split_softmax"): "adaptive_softmax"}
