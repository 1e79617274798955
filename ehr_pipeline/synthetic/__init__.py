"""A synthetic general-practice extract with known truth: real codes at real frequencies, planted subgroups, every kind of dirt."""
