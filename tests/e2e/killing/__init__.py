"""An agent that the kernel kills at any one point of a renewal, on the lab's nodes."""
