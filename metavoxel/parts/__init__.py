"""Parts that a plugin may add: variables, codecs, kernels, adapters, backbones, features."""
