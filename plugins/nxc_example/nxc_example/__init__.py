"""The smallest complete nxc plugin: a flavour and a base. Copy it to begin your own."""
