"""What a person looks at: card, contact sheet, figures."""
