"""Run folders: the output of training, and the input of every later step."""
