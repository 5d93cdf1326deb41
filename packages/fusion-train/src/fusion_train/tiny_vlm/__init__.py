"""Training of ``tiny-vlm``: a LLaVA of about a million parameters, from nothing, on procedural images and template captions."""
