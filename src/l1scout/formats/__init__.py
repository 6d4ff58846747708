"""Wire formats, one a file: layout tables from which decode, encode and the documentation are made."""
