import pickle

from l4f_datagen.core import errors

PARENTS = {
    "L4FError": (1, Exception),
    "UsageError": (2, errors.L4FError),
    "RecipeError": (2, errors.UsageError),
    "BelowScore": (3, errors.L4FError),
    "InputRefused": (4, errors.L4FError),
    "CheckpointRefused": (4, errors.InputRefused),
    "AnnotationRefused": (4, errors.InputRefused),
    "NetworkError": (5, errors.L4FError),
    "Interrupted": (130, errors.L4FError),
}


def test_every_error_has_its_exit_code_and_narrow_ones_are_caught_as_broad_ones():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    public = [kind for kind in kinds if issubclass(kind, Exception)]
    assert {kind.__name__: (kind.exit_code, kind.__base__) for kind in public} == PARENTS


def test_the_text_is_one_line_whatever_was_put_in_and_travels_between_processes():
    parts = ("a\n file.png", "is\tnot\r\nan image ", " remove  it")
    error = pickle.loads(pickle.dumps(errors.InputRefused(*parts)))
    assert type(error) is errors.InputRefused
    assert str(error) == "a file.png: is not an image ; remove it"
    assert (error.subject, error.problem, error.remedy) == parts
