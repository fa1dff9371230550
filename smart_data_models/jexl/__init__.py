"""JEXL, the one expression language of mappings, provisioning and rules.

`expressions.compile_expression` turns a text into a closure over a scope of names.
"""
