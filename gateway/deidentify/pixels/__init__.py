"""Text burned into pixels: found, blanked in stored values, or left to a person (PS3.15 E.3.1, Clean Pixel Data).

Everything here that decodes runs in a child process of limited memory and time (`pool`), never in a receiver:

* `stored` opens an instance and gives its frames as stored values, `codecs` decodes and encodes one frame,
* `regions` knows what to hide without looking: device rules and the regions of ultrasound,
* `detector` finds text in one picture, `search` in all frames of an instance,
* `blank` hides boxes in stored values, `rewrite` writes the instance again,
* `screen` is the whole of it for one file, and what `child` runs.
"""
