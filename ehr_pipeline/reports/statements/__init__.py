"""The sentences of the page: one function per statement, by topic. Templates only lay them out.

A function takes values, decides what they support, and returns a `Statement`: the sentence, and the error rate that says
how often such a sentence is made where it is false. Grammar and thresholds are here and nowhere else; `statement` holds
what all topics share.
"""
