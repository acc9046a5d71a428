"""Who asks: the application, its roles, and the store it reads; nothing in here can name a device."""
