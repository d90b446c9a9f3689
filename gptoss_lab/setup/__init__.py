"""From nothing to gpt-oss: examine what is missing, install, start, pull, and say every error in plain words.

Nothing here installs or changes anything that the learner has not asked for.
"""
