"""The figures of a study, one file each; ``catalogue`` lists them, ``style`` says how they look."""
