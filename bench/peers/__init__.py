"""What a user would pick instead, doing the same work beside ours. Their programs run in virtual environments of their own."""
