"""Many experiments as one: a grid in a TOML file, its runs as Ray tasks, results in one file."""
