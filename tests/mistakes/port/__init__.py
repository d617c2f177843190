"""A small Llama in numpy that records what it computes: an example of a port.

It is written from the papers (Llama, RMSNorm, RoPE, GQA, SwiGLU) and Hugging Face's modelling code, and shares
nothing with the program under test.
"""
