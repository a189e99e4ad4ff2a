"""A beginning that uses the truth: a generator learns to reconstruct subjects before it meets a
discriminator.

A variational autoencoder (Kingma and Welling, 2014). An encoder looks at one image of a subject and
tells mean and variance of its latent z; z and the subject's semantic feature become w, planes, and
images of the subject's cameras, which are compared with the true ones. Latents are kept near N(0,
I), so that afterwards new ones can be drawn.

While there is hardly any density, images say little about where it should be. Depth maps say it at
points: before the surface that a pixel shows there is nothing, right behind it all is opaque, and
on it are the pixel's colours. A point costs a tenth of a rendered pixel.
"""
