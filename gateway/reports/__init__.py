"""Reports: a signed opinion as a Structured Report and as a PDF, in the hospital's own study (`build.Reports`)."""
