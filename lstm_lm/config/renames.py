"""Settings and options of version 0.1 that were renamed, for "did you mean"."""

RENAMED_SETTINGS = {
    "batching.rotate": "batching.random_offset",
    "callbacks.early_stopping_patience": "callbacks=[default,early_stopping] callbacks.early_stopping.patience",
    "callbacks.projector_words": "callbacks.embedding_projector.num_words",
    "callbacks.sample_prompt": "callbacks.text_samples.prompt",
    "callbacks.sample_words": "callbacks.text_samples.num_words",
    "data.name": "data.source",
    "embedding_start": "embedding_init",
    "logger.every_steps": "trainer.log_every_n_steps",
    "logger.log_every_n_steps": "trainer.log_every_n_steps",
    "model.output_cutoffs": "model.cutoffs",
    "optimizer.name": "optimizer=NAME, or optimizer._target_=CLASS",
    "schedule.name": "schedule=NAME, or schedule._target_=CLASS",
    "trainer.dropout_epochs": "trainer.reference_epochs",
    "trainer.gradient_clip": "trainer.gradient_clip_val",
    "trainer.limit_train_windows": "trainer.limit_train_batches",
    "trainer.max_minutes": "trainer.budget",
    "trainer.limit_valid_windows": "trainer.limit_val_batches",
    "trainer.valid_every": "trainer.val_check_interval",
    "trainer.valid_share": "trainer.max_val_fraction",
}
RENAMED_OPTIONS = {("averaging", "tail"): "polyak", ("loss", "split_softmax"): "adaptive_softmax"}
