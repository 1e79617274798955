"""The sentences of the page: one function per statement, by topic. Templates only lay them out.

A function takes values, decides what they support, and returns a `Statement`: the sentence, and its error rate, which says how
often such a sentence appears although it is false. Grammar and thresholds are only in this package. The module `statement` holds
what all topics share.
"""
