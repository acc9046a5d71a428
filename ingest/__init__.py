"""What comes in: the cell-attachment contract, the release contract, door checks, file sources."""
