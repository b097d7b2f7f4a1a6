"""Which films may be recommended: a small language of conditions on what is known of them."""
