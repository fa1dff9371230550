"""One public function per API operation (clause 5)."""
