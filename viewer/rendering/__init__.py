"""From stored pixel data to what a person can look at: decode, window, colour, encode.

Pixel data comes from anywhere, so nothing is decoded before its header was compared with the data set
(`viewer.rendering.limits`), and every decoder runs behind the same door (`viewer.rendering.decode`).
"""
