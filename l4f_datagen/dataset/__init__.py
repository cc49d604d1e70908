"""The dataset folder: shards that survive a crash, ledger, manifest, indexes written last."""
