"""Hub: publish a finished dataset on the Hugging Face Hub."""

from l4f_datagen.hub.publish import Push as Push
from l4f_datagen.hub.publish import Pushed as Pushed
from l4f_datagen.hub.publish import plan_push as plan_push
from l4f_datagen.hub.publish import push as push
