"""What a single lesson needs: it is shown there first. `CONTRIBUTING.md` says which."""
