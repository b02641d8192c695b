"""What every part uses: checks of arguments, files, locks, progress, compiled networks; it imports no other part."""
