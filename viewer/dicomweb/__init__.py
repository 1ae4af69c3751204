"""DICOMweb (PS3.18): search (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS) over the archive.

Identities never pass here: what is served is pseudonymised as stored, to every role.
"""

from viewer.dicomweb.routes import create_blueprint

__all__ = ["create_blueprint"]
