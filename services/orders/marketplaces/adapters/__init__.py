"""Who the marketplaces are. configured: accounts of tenants, from a file."""
