# How much faster does this GPU train than this CPU? The workflow and its contents page: workflow/Snakefile.


include: "workflow/Snakefile"


# A Snakefile that only includes another has no default target.
rule default:
    default_target: True
    input:
        rules.all.input,
