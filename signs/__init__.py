"""What shows a message: the sign's dots, and drivers of the controllers that light them."""
