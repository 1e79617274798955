"""The chain of assets: the inputs of each asset, and when it is made again."""
