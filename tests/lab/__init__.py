"""The lab itself: that it is what it says, comes up, breaks as it should, and leaves nothing."""
