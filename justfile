# The commands of everyday work; `just` lists them.

default:
    @just --list

# Install everything that the lock holds
install:
    .ci/run install

# Format the code and mend what ruff can mend
format:
    uv run ruff check --fix .
    uv run ruff format .

# ruff, mypy, import-linter, deptry, drift of the schemas
lint:
    .ci/run lint

# The fast tests, or some of them: just test tests/unit/encoders -k cache
test *arguments:
    uv run pytest {{arguments}}

# The slow tests
slow:
    .ci/run slow

# Everything that a change must pass
ci:
    .ci/run

# Write the JSON schemas of the files
schemas:
    uv run python -m fusion_eval.schemas

# The main job: data, features, training, captions and scores
train *arguments:
    uv run fusion train scenes --system additive {{arguments}}

# Build the wheel of every package into dist/
build:
    uv build --all-packages
