"""From text to suggestions and to generated text."""
