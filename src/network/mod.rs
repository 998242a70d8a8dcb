//! Network drivers, published ports, name files.
