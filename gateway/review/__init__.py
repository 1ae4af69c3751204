"""A person decides about pixels the screening could not prove clean: looks, draws boxes, releases or discards.

Nothing is decoded in the process that serves pages:

* `child` decodes, shows and hides, in a process of limited memory (as `deidentify.pixels.child`),
* `bench` holds one such process and the one item it works on, decrypted, for as long as somebody does,
* `reviewer` is what the pages are handed.
"""
