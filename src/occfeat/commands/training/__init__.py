"""Commands that train: `occfeat pretrain` and `occfeat finetune`."""
