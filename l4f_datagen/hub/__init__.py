"""Hub: publish a finished dataset on the Hugging Face Hub."""
