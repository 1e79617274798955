"""The chain of assets: what each is made from, and when it is made again."""
