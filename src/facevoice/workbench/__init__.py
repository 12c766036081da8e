"""Where corpora meet decoding: tables, features and dubbed clips are made here."""
