"""What one IDS carries."""
